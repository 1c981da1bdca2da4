"""The HTTP surface of the node, one file by audience; the native core is reached through `ocn_fast.node`."""
