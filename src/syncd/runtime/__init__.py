"""What keeps running: the daemon, its supervised services, workers, the ticker, reload and drain."""
