#!lua
-- Gives a history another epoch, as it stands, and tells those who follow the document.
-- KEYS  meta, log, clients, snapshot, index
-- ARGV  epoch, new epoch, PUBLISH or SPUBLISH, channel, head and tail of the frame around
--       version and hash
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'hash', 'floor')
if not head[1] then return {'missing'} end
if head[1] ~= ARGV[1] then return {'head', head} end
-- Before the first write: a head that lacks something ends the script here.
local frame = ARGV[5] .. head[2] .. ',"hash":"' .. head[3] .. '"' .. ARGV[6]
head[1] = ARGV[2]
redis.call('HSET', KEYS[1], 'epoch', head[1])
redis.pcall(ARGV[3], ARGV[4], frame)
return {'head', head}
