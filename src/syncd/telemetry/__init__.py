"""What the world learns of syncd: log lines with secrets taken out, and metrics. Everything else says `observe(event, **facts)`."""
