"""relay: listens to container engines, and sends the events that matter to people and programs.

The path of an event::

    engine ─► parse ─► deduplicate ─► cause ─► route ─► STORE
     bytes    Event     cursor         why ended         one commit
    STORE ─► fetch ─► render ─► send ─► classify ─► ack
              due     Request   Response  Outcome   row

There are two loops, with the store between them: ``relay.ingest`` (left of it) and
``relay.delivery`` (right of it). The deliveries that an event causes and the cursor that moves past
the event are committed together. Before that commit the engine can repeat the event; after it,
relay owes the delivery.
"""

__version__ = "0.1.0"
