"""relay: listens to container engines and tells people and programs what happened.

The way of the data::

    engine ─► parse ─► cursor ─► cause ─► match ─► STORE
     bytes    Event    seen?     why      routes   one commit
    STORE ─► lane ─► render ─► send ─► judge ─► settle
             due?    Request   Response Outcome  row

Two loops, cut by the store: ``ingest`` (left of it) and ``lanes`` (right of it). What an event
gives rise to and the cursor that moves past it are committed together; before that commit the
event is the engine's to repeat, after it the delivery is relay's to make.
"""

__version__ = "0.1.0"
