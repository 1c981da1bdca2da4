"""Real OCPI 2.2.1 parties, a CPO and an eMSP, to talk to while building: `ocn-fast party cpo|msp`.

They hold their own keys, tokens and data, register at a node like anybody else, sign what they send and
verify what they get. They use only what a stranger has: HTTP and `ocn_fast.notary`; never the node's insides.

    ocpi           the words: parties, envelopes, lists, patches
    signing        one small interface to sign and verify, and whose signature counts
    journal, state what happened, and what must survive a restart
    client         calls that go out, signed
    registration   credentials, in both directions
    door           calls that come in, verified
    cpo, msp       what each role knows and does
    process        one party as a process
"""
