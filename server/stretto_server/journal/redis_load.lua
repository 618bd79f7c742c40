#!lua flags=no-writes
-- Returns the head, the snapshot and the entries after it, all of one moment.
-- KEYS  meta, log, clients, snapshot, index
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'hash', 'floor')
if not head[1] then return {'missing'} end
local snapshot = redis.call('HMGET', KEYS[4], 'version', 'hash', 'text')
local after = (snapshot[1] or '0') .. '-0'
return {'loaded', head, snapshot, redis.call('XRANGE', KEYS[2], '(' .. after, '+')}
