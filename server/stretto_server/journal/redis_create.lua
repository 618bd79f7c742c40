#!lua
-- Creates a document, empty, or leaves the one that exists; returns its head.
-- KEYS  meta, log, clients, snapshot, index
-- ARGV  id, epoch, hash of the empty history, at_ms
if redis.call('HSETNX', KEYS[1], 'epoch', ARGV[2]) == 1 then
  redis.call('HSET', KEYS[1], 'version', '0', 'hash', ARGV[3], 'floor', '0',
    'floor_hash', ARGV[3], 'created_ms', ARGV[4], 'updated_ms', ARGV[4])
  redis.call('ZADD', KEYS[5], '0', ARGV[1])
end
return {'head', redis.call('HMGET', KEYS[1], 'epoch', 'version', 'hash', 'floor')}
