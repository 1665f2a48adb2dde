"""What operators and scripts may ask: each use-case checks the principal, changes through documents and flows, and is audited."""
