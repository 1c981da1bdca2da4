"""The demo: one node and real parties as own processes, one roaming story, every line of it checked.

    network   starts and ends the processes, each with its own data in a temporary folder
    story     the steps, and what must come of each
    table     how they are printed

It uses what a stranger has: the command line, HTTP and `ocn_fast.notary`.
"""
