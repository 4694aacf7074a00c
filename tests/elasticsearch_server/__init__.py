"""Test equipment: a real Elasticsearch server for tests and benchmarks, without a container.

It is the vendor's server 9.2.0 without most of its modules, from Maven Central, completed by a small plugin. It is not
for users' documents: those go to a full server (`deploy/elasticsearch/compose.yaml`).
"""

from .cluster import Cluster, server
from .distribution import VERSION, Unavailable
from .proxy import Proxy, Request, proxy

__all__ = ["VERSION", "Cluster", "Proxy", "Request", "Unavailable", "proxy", "server"]
