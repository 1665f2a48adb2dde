"""The guided tour: the real daemon between two systems, killed in the middle of it all, and what everybody's records say afterwards.

tour          its directory, its signals, its exit code
story         what happens, in order
acts          what people do meanwhile: an edit, two conflicts, a repair
cast          the processes that take part
processes     children, none of which outlives the tour    replicas   the daemons
services      what daemons share, where the environment names it

crm           a sample system with webhooks (crmhooks)      maillist   another one, with other manners
system        what both have in common                      contacts   what they hold
connections   how syncd is told of both: settings of the provider `rest`
sender        behaves as GitHub: nothing but a 2xx ends a delivery (issues: what it delivers; delivering: how far it is)

readback      the daemon's API                              desk       the people at a sample system
books         three systems held against each other         verdict    GitHub's deliveries held against what became of them
report        the closing table                             narration  words, and bars where there is a terminal
"""
