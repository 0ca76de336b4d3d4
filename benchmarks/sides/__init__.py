"""The libraries that are compared, one module for each.

Each module uses its library as the library's documentation shows, with default settings, and is
imported only in the process that measures it. Its class takes the address of the server and the
records of a table, and has

* `orders`: returns the first records as objects that `put` and `put_many` take,
* `get`, `put`, `get_many`, `put_many`, `query`, `scan`: coroutine functions if it has a `loop`,
* `plain`: returns the values of an item that was read.

It may also have `decode` (returns the objects in the bytes of a page), `arrow` (returns a scan as
an Arrow table), `exact` (returns a model with all its types), `ways` (returns the number of items
decoded by each decoder) and `close`.
"""
