"""The chain that tests start: it is the asked one, it can be stopped, and it ends with the test."""

from collections.abc import Callable

from tools_found import Anvil


def test_a_chain_of_ones_own(start_anvil: Callable[..., Anvil]) -> None:
    one, other = start_anvil(chain_id=9), start_anvil("--no-mining", chain_id=10)
    assert [int(chain.call("eth_chainId"), 16) for chain in (one, other)] == [9, 10]
    assert one.call("eth_accounts")[0] == "0x627306090abab3a6e1400e9345bc60c78a8bef57"
    one.kill()
    assert one.process.returncode is not None
    other.stop()
