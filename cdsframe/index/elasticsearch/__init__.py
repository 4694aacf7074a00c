"""An index on an Elasticsearch server, which several machines can read and write. Starts no server."""

from cdsframe.index.elasticsearch.index import ElasticsearchIndex

__all__ = ["ElasticsearchIndex"]
