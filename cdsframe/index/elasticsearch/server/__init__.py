"""The Elasticsearch server: connection, bulk requests, scans and backing indexes. Does not know about commits."""
