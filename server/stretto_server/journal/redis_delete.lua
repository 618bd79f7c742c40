#!lua
-- Deletes a document with all it has, and tells those who follow it.
-- KEYS  meta, log, clients, snapshot, index
-- ARGV  id, epoch ('' for any), 1 for only at version 0, PUBLISH or SPUBLISH, channel,
--       head and tail of the frame around the deleted epoch
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version')
if not head[1] then return {'nothing'} end
if ARGV[2] ~= '' and head[1] ~= ARGV[2] then return {'nothing'} end
if ARGV[3] == '1' and tonumber(head[2]) > 0 then return {'nothing'} end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.pcall(ARGV[4], ARGV[5], ARGV[6] .. cjson.encode(head[1]) .. ARGV[7])
return {'deleted'}
