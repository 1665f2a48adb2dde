"""The guided tour: the real daemon, killed in the middle of a thousand webhooks, and what its API says afterwards.

tour        the story: start, send, kill -9, start again, read back, say what was found
issues      the made-up deliveries
sender      a process of its own that behaves as a provider: nothing but a 2xx ends a delivery
processes   the children, none of which outlives the tour
readback    what the API says
verdict     the API's answers held against the sender's log
narration   words, and a bar where there is a terminal
"""
