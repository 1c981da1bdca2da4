"""Transactions on a chain that takes its time, forgets, refuses, or has no base fee."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocn_fast.errors import RpcError, TransactionError
from ocn_fast.registry import contracts, transactions
from ocn_fast.registry.transactions import Chain, Progress, direct, revert_reason
from registry_tool import Deployed, deploy, our_bytecodes
from tools_found import Anvil

StartAnvil = Callable[..., Anvil]


@pytest.fixture
def deployed(start_anvil: StartAnvil, tmp_path: Path) -> Deployed:
    """A chain with our contracts."""
    return deploy(start_anvil(), tmp_path, our_bytecodes())


@pytest.fixture
def chain(deployed: Deployed) -> Iterator[Chain]:
    """The connection to it."""
    with transactions.connect(deployed.anvil.url, deployed.anvil.chain_id) as chain:
        yield chain


def set_node(deployed: Deployed, url: str = "https://node.example.org") -> transactions.Call:
    return direct(deployed.registry, "setNode", domain=url)


@pytest.mark.parametrize(
    ("country", "party"), [(b"D", b"CPO"), (b"DEU", b"CPO"), (b"DE", b"CP"), (b"DE", b"CPOS")]
)
def test_an_id_of_another_length_is_no_id(country: bytes, party: bytes) -> None:
    """Zeros behind it would make another party of it."""
    contract = "0x" + "11" * 20

    def call(country: bytes, party: bytes) -> transactions.Call:
        return direct(contract, "setParty", countryCode=country, partyId=party, roles=[0], operator=contract)

    assert call(b"DE", b"CPO").function == "setParty"
    with pytest.raises(ValueError, match=r"must be [23] bytes"):
        call(country, party)


def test_it_waits_for_blocks_on_top_and_tells_how_far_it_is(deployed: Deployed, chain: Chain) -> None:
    key, told = deployed.key(), []
    deployed.anvil.call("evm_setAutomine", False)

    def mine(progress: Progress) -> None:
        told.append((progress.step, progress.confirmations))
        deployed.anvil.call("evm_mine")

    receipt = chain.send(set_node(deployed), key.secret, confirmations=2, progress=mine)
    assert told == [("sent", 0), ("mined", 0), ("mined", 1), ("counts", 2)]
    assert receipt.sender == key.address
    assert receipt.block == int(deployed.anvil.call("eth_blockNumber"), 16) - 3
    assert chain.view(deployed.registry, "getNode", key.address) == (b"https://node.example.org",)


def test_what_is_not_mined_in_time_may_still_be(deployed: Deployed, chain: Chain) -> None:
    key = deployed.key()
    deployed.anvil.call("evm_setAutomine", False)
    with pytest.raises(TransactionError, match="may still: look it up") as late:
        chain.send(set_node(deployed), key.secret, wait_s=0.5)
    assert late.value.sent == "maybe"
    assert str(late.value.transaction) in str(late.value)
    assert deployed.anvil.call("eth_getTransactionByHash", late.value.transaction) is not None


def test_a_block_that_a_reorganisation_takes_away_does_not_count(deployed: Deployed, chain: Chain) -> None:
    key = deployed.key()
    before = deployed.anvil.call("evm_snapshot")
    deployed.anvil.call("evm_setAutomine", False)

    def reorganise(progress: Progress) -> None:
        if progress.step == "sent":
            deployed.anvil.call("evm_mine")
        elif progress.confirmations == 0:
            deployed.anvil.call("evm_revert", before)
            deployed.anvil.call("anvil_mine", "0x5")

    with pytest.raises(TransactionError) as gone:
        chain.send(set_node(deployed), key.secret, confirmations=2, wait_s=1.5, progress=reorganise)
    assert gone.value.sent == "maybe"


def test_what_fails_in_its_block_is_told_with_its_reason(deployed: Deployed, chain: Chain) -> None:
    first, second = deployed.key(), deployed.key()
    deployed.anvil.call("evm_setAutomine", False)
    deployed.anvil.call("anvil_impersonateAccount", first.address)

    def overtake(progress: Progress) -> None:
        if progress.step == "sent":
            # Somebody else lists the same URL, and pays more to be first in the block.
            call = {
                "from": first.address,
                "to": deployed.registry,
                "data": "0x" + set_node(deployed).data.hex(),
            }
            fees = {"maxFeePerGas": hex(10**12), "maxPriorityFeePerGas": hex(10**11), "gas": hex(10**6)}
            deployed.anvil.call("eth_sendTransaction", call | fees)
            deployed.anvil.call("evm_mine")

    with pytest.raises(TransactionError, match="Domain name already registered") as failed:
        chain.send(set_node(deployed), second.secret, progress=overtake)
    assert failed.value.sent == "yes"
    assert chain.view(deployed.registry, "getNode", second.address) == (b"",)


@pytest.mark.parametrize(("fork", "kind"), [("istanbul", "0x0"), ("london", "0x2")])
def test_fees_are_those_of_the_chain(start_anvil: StartAnvil, tmp_path: Path, fork: str, kind: str) -> None:
    anvil = start_anvil("--hardfork", fork)
    made = Deployed(anvil, "", "", tmp_path)
    key = made.key(ether=10)
    # A contract that any chain can run: nothing.
    call = transactions.deployment("nothing", bytes.fromhex("60006000f3"))
    with transactions.connect(anvil.url, anvil.chain_id) as chain:
        receipt = chain.send(call, key.secret)
    sent = anvil.call("eth_getTransactionByHash", receipt.transaction)
    assert (sent["type"], int(sent["chainId"], 16)) == (kind, anvil.chain_id)
    assert int(sent["gas"], 16) == int(receipt.gas_used * 1.2)


def test_a_chain_that_hangs_is_given_up(deployed: Deployed) -> None:
    key = deployed.key()
    with transactions.connect(deployed.anvil.url, deployed.anvil.chain_id, timeout_ms=500) as chain:
        deployed.anvil.stop()
        try:
            with pytest.raises(RpcError, match=r"no whole answer in 0\.5 s"):
                chain.send(set_node(deployed), key.secret)
        finally:
            deployed.anvil.go_on()
    assert deployed.nothing_sent(key)


def test_a_chain_that_hangs_after_sending_leaves_it_open(deployed: Deployed) -> None:
    key = deployed.key()

    def hang(progress: Progress) -> None:
        if progress.step == "sent":
            deployed.anvil.stop()

    with transactions.connect(deployed.anvil.url, deployed.anvil.chain_id, timeout_ms=300) as chain:
        try:
            with pytest.raises(TransactionError, match="no whole answer") as open_end:
                chain.send(set_node(deployed), key.secret, wait_s=1, progress=hang)
        finally:
            deployed.anvil.go_on()
    assert open_end.value.sent == "maybe"
    assert open_end.value.transaction is not None


def test_other_contracts_are_told_apart_from_registries(deployed: Deployed, chain: Chain) -> None:
    with pytest.raises(TransactionError, match=r"no usable answer|would be refused"):
        chain.view(deployed.permissions, "getNode", deployed.keys[0].address)
    with pytest.raises(TransactionError, match="there is no registry"):
        chain.require_contract(deployed.keys[0].address, "registry")


def test_arguments_are_those_of_the_function(deployed: Deployed) -> None:
    with pytest.raises(ValueError, match="takes domain"):
        direct(deployed.registry, "setNode", url="https://node.example.org")
    with pytest.raises(ValueError, match="takes nothing"):
        direct(deployed.registry, "deleteNode", operator=deployed.registry)


def test_the_artifacts_are_what_deployment_takes() -> None:
    call = transactions.deployment("registry", contracts.registry().bytecode)
    assert (call.to, call.data) == (None, contracts.registry().bytecode)


REASON = (
    "08c379a0"
    + "20".rjust(64, "0")
    + "05".rjust(64, "0")
    + b"Taken".hex().ljust(64, "0")
)  # fmt: skip


@pytest.mark.parametrize(
    ("message", "data", "reason"),
    [
        ("execution reverted", REASON, "Taken"),
        ("execution reverted: Taken", "", "Taken"),
        ("VM Exception while processing transaction: revert Taken", "", "Taken"),
        ("execution reverted", "f1f1b1c7" + REASON[8:], "Taken (error 0xf1f1b1c7)"),
        ("execution reverted", "f1f1b1c7", "the contract answers with its own error 0xf1f1b1c7"),
        ("execution reverted", "4e487b71" + "21".rjust(64, "0"), "none of those that it knows (code 0x21)"),
        ("execution reverted", "4e487b71" + "99".rjust(64, "0"), "panic (code 0x99)"),
        ("execution reverted", "08c379a0" + "ff" * 64, "own error 0x08c379a0"),
        ("invalid opcode: INVALID", "", "invalid opcode"),
        ("EVM error: InvalidFEOpcode", "", "invalid opcode"),
        ("VM execution error. Bad instruction fe", "", "invalid opcode"),
        ("execution reverted", "", "the contract gives no reason"),
    ],
)
def test_reasons_of_a_refusal_in_words(message: str, data: str, reason: str) -> None:
    assert reason in revert_reason(message, bytes.fromhex(data))
