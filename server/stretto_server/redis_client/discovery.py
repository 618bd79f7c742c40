"""Which kind of Redis a URL leads to."""

from stretto_server.redis_client.cluster import Cluster
from stretto_server.redis_client.link import Login, NoReply, NotSent
from stretto_server.redis_client.resp import ReplyError
from stretto_server.redis_client.servers import TIMEOUT_S, Servers, SingleServer, ask
from stretto_server.redis_client.url import RedisUrl


async def discover(url: RedisUrl, *, timeout_s: float = TIMEOUT_S) -> Servers:
    """Return the servers behind ``url``, not started. Raises NotSent, ReplyError, ValueError."""
    if url.sentinel is not None:
        return SingleServer(url, timeout_s=timeout_s)
    login = Login(url.username, url.password, tls=url.tls_context())
    problem: Exception = NotSent("no address")
    for address in url.addresses:
        try:
            info = await ask(address, login, timeout_s, "INFO", "cluster")
        except (NotSent, NoReply, ReplyError) as error:
            problem = error
            continue
        if b"cluster_enabled:1" in info:
            return Cluster(url, timeout_s=timeout_s)
        if len(url.addresses) > 1:
            raise NotSent("of several hosts that are no cluster, say ?sentinel=NAME or name one")
        return SingleServer(url, timeout_s=timeout_s)
    raise problem
