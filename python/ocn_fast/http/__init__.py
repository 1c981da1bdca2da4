"""The HTTP surface of the node, one file by audience. It reaches the native core only through `ocn_fast.node`."""
