"""What flows may ask of the world. Protocols only: each docstring is a contract, tried by one conformance suite over all backends."""
