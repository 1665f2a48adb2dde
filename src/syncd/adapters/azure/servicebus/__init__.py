"""Queues and topics on Azure Service Bus, through `azure.servicebus.aio`.

    queue        the port `Queue`: the caller's side            -> opening makes one
    iothread     the thread whose loop owns everything below; handlers cannot starve it
    consumer     one queue: who asks for messages, what is leased and not handed out yet, lanes 8:4:1
    link         one receiver of one entity: polls, settles, renewals and probes take turns on its connection
    leases       what is held: renewed, given up, lost
    outbox       one sender of one entity: concurrent sends leave as batches
    browsing     peek and depth            deadletters   the broker's own dead letters
    counting     what the administration API counts      idling   closes what nobody uses
    wire         envelope <-> application properties         skew   our clock against the broker's
    sdk          every use that is made of what the SDK does not show, with its reason

What the broker keeps, and what follows for the port:

- A message is one hop. `deliveries` is the broker's delivery count plus this one, so it is durable and starts anew with each hop.
- `Release` is the AMQP outcome *released*, which does not count
  (https://github.com/Azure/amqpnetlite/issues/342: "Service Bus processes Release outcome and it doesn't increment delivery
  count"). Where the link on which the message came is gone, only *abandon* is left, and that counts.
- `Next` sends the next hop and then completes this one. Its id is the envelope's broker id, so a repeated send of a hop is
  absorbed where the entity detects duplicates.
- Nothing tells a sender that its message was absorbed: `Sent.duplicate` is always False.
- The broker cannot skip messages of full groups. They stay leased here, at most SHELF of them, until their group is free or nobody
  asks any more; then they are released. A queue whose first thousand messages are all of one full group makes the others wait.
"""
