#!lua
-- Returns the number of the newest message about a room's presence, and all members.
-- KEYS  members, leases, seq
-- ARGV  node, PUBLISH or SPUBLISH, channel
tell(KEYS[3], ARGV[2], ARGV[3], ARGV[1], {}, sweep(KEYS[1], KEYS[2], ARGV[1]))
-- Whoever asks will hear the first message as the next one.
redis.call('SET', KEYS[3], micros, 'PX', NUMBER_MS, 'NX')
return {redis.call('GET', KEYS[3]), redis.call('HGETALL', KEYS[1])}
