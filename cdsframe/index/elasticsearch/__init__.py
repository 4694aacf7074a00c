"""An index on an Elasticsearch server, shared by several machines. Does not start a server."""

from cdsframe.index.elasticsearch.index import ElasticsearchIndex

__all__ = ["ElasticsearchIndex"]
