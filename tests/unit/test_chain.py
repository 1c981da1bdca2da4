"""The development chain: what clients of Ethereum nodes rely on, and how it refuses what is malformed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from eth_account import Account
from web3 import Web3
from web3.exceptions import ContractLogicError

from in_process import InProcess
from ocn_fast.chain.machine import Machine
from ocn_fast.chain.methods import BATCH, Methods
from ocn_fast.registry import contracts
from tools_found import JsonRpcError

CHAIN_ID = 9
ETHER = 10**18


class Chain:
    """A fresh chain, asked by JSON or by web3.py."""

    def __init__(self, **options: Any) -> None:
        self.methods = Methods(Machine(CHAIN_ID, 3, **options))
        self.web3 = Web3(InProcess(self.methods))

    def __call__(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = json.loads(self.methods.answer(json.dumps(body).encode()))
        if "error" in answer:
            raise JsonRpcError(answer["error"])
        return answer["result"]

    def deploy(self) -> Any:
        """Our Registry, deployed by the first account."""
        artifact = contracts.registry()
        factory = self.web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        sent = factory.constructor().transact({"from": self.web3.eth.accounts[0]})
        return factory(self.web3.eth.wait_for_transaction_receipt(sent)["contractAddress"])


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_it_is_the_local_network_that_existing_tools_know(chain: Chain) -> None:
    accounts = chain("eth_accounts")
    assert accounts[0] == "0x627306090abaB3A6e1400e9345bC60c78a8BEf57"
    assert int(chain("eth_getBalance", accounts[0], "latest"), 16) == 1_000_000 * ETHER
    assert (int(chain("eth_chainId"), 16), chain("net_version")) == (CHAIN_ID, str(CHAIN_ID))
    assert chain("web3_clientVersion").startswith("ocn-fast-chain/")
    assert chain("eth_syncing") is False


def test_a_contract_is_deployed_called_and_its_logs_are_found(chain: Chain) -> None:
    registry = chain.deploy()
    first, second, _ = chain.web3.eth.accounts
    receipts = [
        chain.web3.eth.wait_for_transaction_receipt(
            registry.functions.setNode(f"https://{number}.example").transact({"from": account})
        )
        for number, account in enumerate((first, second))
    ]
    assert [receipt["status"] for receipt in receipts] == [1, 1]
    assert registry.functions.getNodeOperators().call() == [first, second]
    assert chain("eth_getCode", registry.address, "latest") != "0x"
    # The length of the list of operators, where v1 has it.
    assert int(chain("eth_getStorageAt", registry.address, "0x4", "latest"), 16) == 2

    def logs(**criteria: Any) -> list[str]:
        return [one["transactionHash"] for one in chain("eth_getLogs", criteria)]

    sent = [Web3.to_hex(receipt["transactionHash"]) for receipt in receipts]
    topic = Web3.to_hex(Web3.keccak(text="OperatorUpdate(address,string)"))
    of_second = "0x" + "0" * 24 + second[2:].lower()
    assert logs(fromBlock="earliest", address=registry.address, topics=[topic]) == sent
    assert logs(fromBlock="0x0", toBlock="latest", topics=[[topic, "0x" + "11" * 32]]) == sent
    assert logs(fromBlock="0x0", topics=[None, [of_second]]) == sent[1:]
    assert logs(fromBlock="0x0", topics=[topic, None, topic]) == []
    assert logs(fromBlock="0x0", address=[first]) == []
    assert logs(blockHash=Web3.to_hex(receipts[0]["blockHash"])) == sent[:1]
    assert logs() == sent[1:]
    assert logs(fromBlock="0x0", toBlock="0x1", address=registry.address, topics=[topic]) == []
    # Past the newest block there is nothing, which is no error.
    assert logs(fromBlock="0x99", toBlock="0xff") == []


def test_each_block_can_be_asked_by_number_and_hash(chain: Chain) -> None:
    registry = chain.deploy()
    account = chain.web3.eth.accounts[0]
    registry.functions.setNode("https://one.example").transact({"from": account})
    before = chain.web3.eth.get_block("latest")
    registry.functions.setNode("https://two.example").transact({"from": account})
    request = {"to": registry.address, "data": registry.encode_abi("getNode", [account])}

    def domain(block: Any) -> str:
        answer = Web3.to_bytes(hexstr=chain("eth_call", request, block))
        return answer[64:].rstrip(b"\0").decode()

    old_hash = Web3.to_hex(before["hash"])
    for old in (hex(before["number"]), {"blockHash": old_hash, "requireCanonical": True}, old_hash):
        assert domain(old) == "https://one.example"
    for new in ("latest", "safe", "finalized", "pending", {"blockNumber": hex(before["number"] + 1)}):
        assert domain(new) == "https://two.example"
    newest = chain("eth_getBlockByNumber", "finalized", False)
    assert newest["parentHash"] == old_hash
    assert chain("eth_getBlockByHash", newest["hash"], False) == newest
    full = chain("eth_getBlockByNumber", "latest", True)["transactions"]
    assert [one["hash"] for one in full] == newest["transactions"]
    assert chain("eth_getTransactionByHash", full[0]["hash"]) == full[0]
    for unknown in ("0x99", {"blockHash": "0x" + "11" * 32}):
        with pytest.raises(JsonRpcError, match="header not found"):
            chain("eth_call", request, unknown)
    assert chain("eth_getBlockByNumber", "0x99", False) is None
    assert chain("eth_getBlockByHash", "0x" + "11" * 32, False) is None


def test_a_reverted_call_says_why_as_clients_expect_it(chain: Chain) -> None:
    registry = chain.deploy()
    account = chain.web3.eth.accounts[0]
    text = "Cannot set empty domain name. Use deleteNode method instead."
    request = {"from": account, "to": registry.address, "data": registry.encode_abi("setNode", [""])}
    for method in ("eth_call", "eth_estimateGas"):
        with pytest.raises(JsonRpcError, match=f"execution reverted: {text}") as failed:
            chain(method, request)
        assert failed.value.code == 3
        assert failed.value.data.startswith("0x08c379a0")
    with pytest.raises(ContractLogicError, match=text):
        registry.functions.setNode("").call({"from": account})
    # Sent with gas of its own, it is mined and has failed.
    sent = chain("eth_sendTransaction", request | {"gas": "0x30000"})
    assert chain("eth_getTransactionReceipt", sent)["status"] == "0x0"


def test_transactions_signed_elsewhere_are_taken_old_and_new_ones(chain: Chain) -> None:
    key = Account.create()
    chain("eth_sendTransaction", {
        "from": chain("eth_accounts")[0], "to": key.address, "value": hex(ETHER),
    })  # fmt: skip
    fees: list[dict[str, int]] = [
        {"gasPrice": 3 * 10**9},
        {"maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9},
    ]
    for nonce, fee in enumerate(fees):
        fields = {"nonce": nonce, "gas": 21_000, "to": "0x" + "22" * 20, "value": 1, "chainId": CHAIN_ID}
        signed = Account.sign_transaction(fields | fee, key.key)
        raw = Web3.to_hex(signed.raw_transaction)
        sent = chain("eth_sendRawTransaction", raw)
        assert sent == Web3.to_hex(signed.hash)
        receipt = chain("eth_getTransactionReceipt", sent)
        assert (receipt["status"], receipt["gasUsed"]) == ("0x1", hex(21_000))
        with pytest.raises(JsonRpcError, match="nonce"):
            chain("eth_sendRawTransaction", raw)
    assert chain("eth_getTransactionCount", key.address, "latest") == "0x2"
    elsewhere = Account.sign_transaction(
        {"nonce": 2, "gas": 21_000, "to": "0x" + "22" * 20, "value": 1, "chainId": 10} | fees[1], key.key
    )
    with pytest.raises(JsonRpcError, match="signed for chain 10"):
        chain("eth_sendRawTransaction", Web3.to_hex(elsewhere.raw_transaction))
    with pytest.raises(JsonRpcError, match="another chain"):
        chain("eth_sendTransaction", {"from": chain("eth_accounts")[0], "chainId": "0xa"})
    with pytest.raises(JsonRpcError, match="no account of this chain"):
        chain("eth_sendTransaction", {"from": key.address, "to": key.address})


@pytest.mark.parametrize("deep", [False, True], ids=["to the first block", "to a later one"])
def test_time_goes_back_to_a_snapshot_and_on_from_there(chain: Chain, deep: bool) -> None:
    account = chain("eth_accounts")[0]
    payment = {"from": account, "to": "0x" + "22" * 20, "value": "0x1"}
    if deep:
        chain("eth_sendTransaction", payment)
    before = chain("eth_getBlockByNumber", "latest", False)
    snapshot, later = chain("evm_snapshot"), chain("evm_snapshot")
    lost = chain("eth_sendTransaction", payment)
    orphan = chain("eth_getBlockByNumber", "latest", False)["hash"]
    assert chain("evm_revert", snapshot) is True
    assert chain("eth_getBlockByNumber", "latest", False) == before
    assert chain("eth_getTransactionReceipt", lost) is None
    assert chain("eth_getBlockByHash", orphan, False) is None
    assert chain("evm_revert", snapshot) is False
    assert chain("evm_revert", later) is False
    again = chain("eth_sendTransaction", payment | {"value": "0x2"})
    assert again != lost
    assert chain("eth_getTransactionReceipt", again)["status"] == "0x1"
    assert chain("eth_getBlockByNumber", "latest", False)["parentHash"] == before["hash"]
    assert chain("eth_getBalance", "0x" + "22" * 20, "latest") == hex(2 + deep)


def test_blocks_come_when_told_and_times_rise(chain: Chain) -> None:
    for _ in range(3):
        chain("evm_mine")
    blocks = [chain("eth_getBlockByNumber", hex(number), False) for number in range(4)]
    times = [int(block["timestamp"], 16) for block in blocks]
    assert times == sorted(set(times))
    assert abs(times[0] - time.time()) < 60


def test_without_automine_transactions_wait_for_their_block() -> None:
    chain = Chain(automine=False)
    account = chain("eth_accounts")[0]
    sent = [
        chain("eth_sendTransaction", {"from": account, "to": "0x" + "22" * 20, "value": "0x1"})
        for _ in range(2)
    ]
    assert chain("eth_getTransactionReceipt", sent[0]) is None
    assert chain("eth_getTransactionCount", account, "latest") == "0x0"
    assert chain("eth_getTransactionCount", account, "pending") == "0x2"
    chain("evm_mine")
    receipts = [chain("eth_getTransactionReceipt", one) for one in sent]
    assert [one["transactionIndex"] for one in receipts] == ["0x0", "0x1"]
    assert [one["gasUsed"] for one in receipts] == [hex(21_000)] * 2
    assert receipts[1]["cumulativeGasUsed"] == hex(42_000)


def test_fees_are_told(chain: Chain) -> None:
    chain("evm_mine")
    history = chain("eth_feeHistory", "0x2", "latest", [50])
    assert (history["oldestBlock"], len(history["baseFeePerGas"]), len(history["reward"])) == ("0x0", 3, 2)
    assert int(chain("eth_gasPrice"), 16) > int(chain("eth_maxPriorityFeePerGas"), 16) > 0


def test_hundreds_of_entries_fit_a_call(chain: Chain) -> None:
    """Lists of a registry are read in one call: here 500 parties, of which each slot is read anew."""
    registry = chain.deploy()
    length, first = 500, int.from_bytes(Web3.keccak((9).to_bytes(32)))
    # Listing them one by one would take half a minute: they are written where the list is stored.
    machine = chain.methods._machine
    state = machine._chain.get_vm().state
    address = Web3.to_bytes(hexstr=registry.address)
    state.set_storage(address, 9, length)
    for index in range(length):
        state.set_storage(address, first + index, index + 1)
    state.persist()
    machine._chain.header = machine._chain.header.copy(state_root=state.state_root)
    chain("evm_mine")
    assert [int(party, 16) for party in registry.functions.getParties().call()] == list(range(1, length + 1))


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_nothing", [], -32601),
        ("eth_getBalance", [], -32602),
        ("eth_getBalance", ["0x12", "latest"], -32602),
        ("eth_getBalance", ["0x" + "zz" * 20, "latest"], -32602),
        ("eth_getBalance", [7, "latest"], -32602),
        ("eth_getBlockByNumber", ["latest", "yes"], -32602),
        ("eth_getBlockByNumber", ["0xzz", False], -32602),
        ("eth_getBlockByNumber", [-1, False], -32602),
        ("eth_getBlockByNumber", [True, False], -32602),
        ("eth_getBlockByNumber", ["0x1" + "0" * 64, False], -32602),
        ("eth_getBlockByNumber", [[], False], -32602),
        ("eth_getTransactionReceipt", ["0x12"], -32602),
        ("eth_getLogs", [[]], -32602),
        ("eth_getLogs", [{"topics": "0x12"}], -32602),
        ("eth_getLogs", [{"topics": ["0x12"]}], -32602),
        ("eth_getLogs", [{"blockHash": "0x" + "11" * 32, "fromBlock": "0x0"}], -32602),
        ("eth_getLogs", [{"blockHash": "0x" + "11" * 32}], -32000),
        ("eth_call", ["0x12"], -32602),
        ("eth_call", [{"to": "0x" + "22" * 20, "data": "0x1"}], -32602),
        ("eth_sendRawTransaction", ["0x"], -32000),
        ("eth_sendRawTransaction", ["0x1234"], -32000),
        ("eth_sendRawTransaction", ["0x02c0"], -32000),
        ("eth_sendRawTransaction", ["0xf8"], -32000),
    ],
)
def test_what_is_malformed_is_refused_and_nothing_breaks(
    chain: Chain, method: str, params: list[Any], code: int
) -> None:
    with pytest.raises(JsonRpcError) as failed:
        chain(method, *params)
    assert failed.value.code == code, failed.value.message
    assert chain("eth_blockNumber") == "0x0"


def test_requests_are_read_as_json_rpc_says(chain: Chain) -> None:
    def answer(body: Any) -> Any:
        raw = chain.methods.answer(body if isinstance(body, bytes) else json.dumps(body).encode())
        return json.loads(raw) if raw else None

    def call(number: Any, method: str = "eth_chainId") -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": number, "method": method}

    def code(body: Any) -> int:
        number: int = answer(body)["error"]["code"]
        return number

    assert code(b"{") == -32700
    assert code(b"[" * 100_000) == -32700
    assert [code(body) for body in ([], 7, {}, {"id": 1, "method": 7})] == [-32600] * 4
    assert code([call(1)] * (BATCH + 1)) == -32600
    assert code({**call(1), "params": {"a": 1}}) == -32602
    batch = answer([call(1), call("two", "eth_nothing"), call(3)])
    assert [(one["id"], "result" in one) for one in batch] == [(1, True), ("two", False), (3, True)]
    assert len(answer([call(number) for number in range(BATCH)])) == BATCH
    # Notifications.
    silent = {"jsonrpc": "2.0", "method": "evm_mine"}
    assert answer(silent) is None
    assert answer([silent]) is None
    assert chain("eth_blockNumber") == "0x2"
