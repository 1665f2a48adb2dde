"""The public test kit: what an adapter or a flow of your own is tried with."""
