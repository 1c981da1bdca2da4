"""An Ethereum machine in memory: transactions make blocks, any block can be asked, and time can go back.

Numbers are wei, gas and Unix seconds; hashes, addresses and data are bytes. Not thread-safe.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import rlp
from eth.abc import BlockAPI, BlockHeaderAPI, LogAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.exceptions import PyEVMError, Revert, VMError
from eth.vm.spoof import SpoofTransaction
from eth_keys.datatypes import PrivateKey
from eth_tester.backends.pyevm.main import PyEVMBackend
from eth_typing import Address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException

MNEMONIC = "candy maple cake sugar pudding cream honey rich smooth crumble sweet treat"
"""Of the local network that existing tools know. Everybody has these keys."""

ACCOUNT_PATH = "m/44'/60'/0'/0"
CALL_GAS = 50_000_000
"""What a call may use, as nodes of real chains have it."""

TIP = 10**9
"""Paid per gas above the base fee, where a transaction names no fee."""


class MachineError(Exception):
    """What was asked cannot be done; the text says why."""


class Reverted(MachineError):
    """The code that was called has failed. `data` is what it gave back: empty, or an encoded error."""

    def __init__(self, text: str, data: bytes) -> None:
        self.data = data
        super().__init__(text)


@dataclass(frozen=True)
class Mined:
    """A block of the chain and what its transactions did."""

    block: BlockAPI
    receipts: tuple[ReceiptAPI, ...]

    @property
    def header(self) -> BlockHeaderAPI:
        return self.block.header

    @property
    def size(self) -> int:
        """Bytes of the encoded block."""
        return len(rlp.encode(self.block))


@dataclass(frozen=True)
class Place:
    """Where a transaction is."""

    mined: Mined
    index: int

    @property
    def transaction(self) -> SignedTransactionAPI:
        return self.mined.block.transactions[self.index]

    @property
    def receipt(self) -> ReceiptAPI:
        return self.mined.receipts[self.index]

    @property
    def used_before(self) -> int:
        """Gas that the transactions before it have used; receipts count through the block."""
        return self.mined.receipts[self.index - 1].gas_used if self.index else 0

    def logs(self) -> list[tuple[int, LogAPI]]:
        """Its logs with their numbers in the block."""
        before = sum(len(receipt.logs) for receipt in self.mined.receipts[: self.index])
        return list(enumerate(self.receipt.logs, before))

    @property
    def created(self) -> bytes | None:
        """The address of the contract that it has created."""
        transaction = self.transaction
        if transaction.to:
            return None
        return keccak(rlp.encode([transaction.sender, transaction.nonce]))[12:]


class Call(NamedTuple):
    """What to run. An empty `to` creates a contract; None leaves a choice to the machine."""

    sender: Address
    to: bytes = b""
    data: bytes = b""
    value: int = 0
    gas: int | None = None
    gas_price: int | None = None
    max_fee: int | None = None
    tip: int | None = None
    nonce: int | None = None


class Machine:
    """The chain. Its first block gives the accounts of a mnemonic a million ether each."""

    def __init__(
        self, chain_id: int, accounts: int, mnemonic: str = MNEMONIC, *, automine: bool = True
    ) -> None:
        self.chain_id = chain_id
        self._automine = automine
        self._backend: Any = PyEVMBackend.from_mnemonic(mnemonic, num_accounts=accounts, hd_path=ACCOUNT_PATH)
        self._backend.chain.chain_id = chain_id
        self.keys: Mapping[Address, PrivateKey] = {
            key.public_key.to_canonical_address(): key for key in self._backend.account_keys
        }
        self._blocks: list[Mined] = []
        self._numbers: dict[bytes, int] = {}
        self._places: dict[bytes, Place] = {}
        self._snapshots: dict[int, int] = {}
        self._next_snapshot = 1
        self._remember(self._chain.get_canonical_block_by_number(0))

    @property
    def _chain(self) -> Any:
        return self._backend.chain

    # --- blocks ---

    @property
    def head(self) -> Mined:
        """The newest block."""
        return self._blocks[-1]

    def by_number(self, number: int) -> Mined | None:
        """A block by its number."""
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def by_hash(self, block_hash: bytes) -> Mined | None:
        """A block by its hash; None also for one that was taken back."""
        number = self._numbers.get(block_hash)
        return None if number is None else self._blocks[number]

    def between(self, first: int, last: int) -> Sequence[Mined]:
        """Blocks by number, the last included; those that are not there are left out."""
        return self._blocks[max(first, 0) : max(last + 1, 0)]

    def place(self, transaction_hash: bytes) -> Place | None:
        """Where a transaction was mined."""
        return self._places.get(transaction_hash)

    def mine(self) -> Mined:
        """Makes a block of what waits, be it nothing."""
        self._date()
        self._backend.mine_blocks()
        return self._remember(self._chain.get_block_by_header(self._chain.get_canonical_head()))

    def _remember(self, block: BlockAPI) -> Mined:
        mined = Mined(block, tuple(block.get_receipts(self._chain.chaindb)))
        self._numbers[block.hash] = len(self._blocks)
        self._blocks.append(mined)
        for index, transaction in enumerate(block.transactions):
            self._places[transaction.hash] = Place(mined, index)
        return mined

    def _date(self) -> None:
        """Gives the next block the present time, or a second more than the last one's: times must rise."""
        if not self._chain.get_block().transactions:
            self._chain.set_header_timestamp(max(int(time.time()), self.head.header.timestamp + 1))

    # --- state ---

    def state(self, mined: Mined) -> StateAPI:
        """Accounts as they were after a block."""
        state: StateAPI = self._chain.get_vm(mined.header).state
        return state

    def next_nonce(self, account: Address) -> int:
        """The number of the account's next transaction, after those that wait."""
        nonce: int = self._chain.get_vm().state.get_nonce(account)
        return nonce

    def call(self, call: Call, mined: Mined) -> bytes:
        """Runs code after a block and forgets what it did. Raises `Reverted`."""
        spoofed = self._spoof(call, call.gas or CALL_GAS, mined)
        try:
            result: bytes = self._chain.get_transaction_result(spoofed, mined.header)
        except VMError as error:
            raise _failed(error) from error
        except (PyEVMError, ValidationError) as error:
            raise MachineError(str(error)) from error
        return result

    def estimate(self, call: Call, mined: Mined) -> int:
        """Gas that is enough, up to 21,000 too much. Raises `Reverted`."""
        try:
            gas: int = self._chain.estimate_gas(self._spoof(call, 21_000, mined), mined.header)
        except VMError as error:
            raise _failed(error) from error
        except (PyEVMError, ValidationError) as error:
            raise MachineError(str(error)) from error
        return gas

    def _spoof(self, call: Call, gas: int, mined: Mined) -> Any:
        """A transaction that nobody has signed; what it costs is not taken from its sender."""
        nonce = self.state(mined).get_nonce(call.sender)
        unsigned = self._chain.create_unsigned_transaction(
            nonce=nonce, gas_price=0, gas=gas, to=call.to, value=call.value, data=call.data
        )
        return SpoofTransaction(unsigned, from_=call.sender)

    # --- transactions ---

    def send_raw(self, encoded: bytes) -> bytes:
        """Takes a signed transaction; returns its hash. Raises `MachineError` where no block may hold it."""
        try:
            transaction = self._chain.get_transaction_builder().decode(encoded)
        except (PyEVMError, ValidationError, RLPException, ValueError) as error:
            raise MachineError(f"not a transaction: {error}") from error
        return self._send(transaction)

    def send(self, call: Call) -> bytes:
        """Signs with the key of one of the accounts, and sends. Raises `MachineError`."""
        key = self.keys.get(call.sender)
        if key is None:
            raise MachineError(f"0x{call.sender.hex()} is no account of this chain")
        nonce = self.next_nonce(call.sender) if call.nonce is None else call.nonce
        gas = self.estimate(call, self.head) if call.gas is None else call.gas
        common = {"nonce": nonce, "gas": gas, "to": call.to, "value": call.value, "data": call.data}
        if call.gas_price is not None:
            legacy = self._chain.create_unsigned_transaction(gas_price=call.gas_price, **common)
            return self._send(legacy.as_signed_transaction(key, self.chain_id))
        tip = TIP if call.tip is None else call.tip
        max_fee = 2 * self.base_fee() + tip if call.max_fee is None else call.max_fee
        unsigned = self._chain.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=self.chain_id,
            max_fee_per_gas=max_fee,
            max_priority_fee_per_gas=min(tip, max_fee),
            access_list=(),
            **common,
        )
        return self._send(unsigned.as_signed_transaction(key))

    def _send(self, transaction: SignedTransactionAPI) -> bytes:
        chain_id = transaction.chain_id
        if chain_id is not None and chain_id != self.chain_id:
            raise MachineError(f"signed for chain {chain_id}, this is chain {self.chain_id}")
        self._date()
        try:
            self._chain.apply_transaction(transaction)
        except (PyEVMError, ValidationError) as error:
            raise MachineError(str(error)) from error
        if self._automine:
            self.mine()
        return transaction.hash

    def base_fee(self) -> int:
        """What the next block takes per gas."""
        fee: int = self._chain.header.base_fee_per_gas
        return fee

    # --- going back ---

    def snapshot(self) -> int:
        """Remembers the newest block; what waits for a block is not part of it."""
        number = self._next_snapshot
        self._next_snapshot += 1
        self._snapshots[number] = len(self._blocks)
        return number

    def revert(self, snapshot: int) -> bool:
        """Takes back all blocks since a snapshot, which is used up then, as are later ones."""
        length = self._snapshots.get(snapshot)
        if length is None:
            return False
        self._snapshots = {one: blocks for one, blocks in self._snapshots.items() if one < snapshot}
        for mined in self._blocks[length:]:
            del self._numbers[mined.block.hash]
            for transaction in mined.block.transactions:
                del self._places[transaction.hash]
        del self._blocks[length:]
        self._backend.revert_to_snapshot(self.head.block.hash)
        # From the first block, the chain starts as another object.
        self._chain.chain_id = self.chain_id
        return True


def _failed(error: VMError) -> Reverted:
    data = error.args[0] if isinstance(error, Revert) and error.args else b""
    return Reverted("execution reverted" if isinstance(error, Revert) else f"execution failed: {error}", data)
