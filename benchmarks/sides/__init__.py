"""The libraries that are compared, one module each.

Each gives the same operations on the same table as its documentation shows them, with the settings
it has by itself, and is imported only in the process that measures it. A side is made of the
address of the server and the records of a table, and has

* `orders`: what its puts take, of the first records,
* `get`, `put`, `get_many`, `put_many`, `query`, `scan`; coroutine functions where it has a `loop`,
* `plain`: the values of an item that was read.

It may have `decode` (its objects of the bytes of a page), `arrow` (a table of a whole scan),
`exact` (what tells a model from every other) and `close`.
"""
