"""A chain for development, in this process and in memory: an Ethereum machine behind JSON-RPC.

    server   HTTP on loopback, one worker thread for the machine
    methods  JSON-RPC: from parameters to the machine and back to JSON
    machine  blocks, transactions, calls, snapshots; py-evm through eth-tester

It forgets everything when it ends, gives everybody its accounts' keys, and checks nothing that only concerns
real chains. Needs the extra `ocn-fast[chain]`.
"""
