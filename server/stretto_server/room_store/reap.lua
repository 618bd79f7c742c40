#!lua
-- Takes rooms that are gone out of the indexes, and keeps the indexes of those that are not.
-- KEYS  rooms, listed
-- ARGV  how the keys of rooms start; where to begin, how many to look at
-- Answers where to begin next.
local first, many = tonumber(ARGV[2]), tonumber(ARGV[3])
local rooms = redis.call('ZRANGE', KEYS[1], first, first + many - 1)
local stay = 0
for _, room in ipairs(rooms) do
  if redis.call('EXISTS', ARGV[1] .. ':room:' .. room) == 0 then
    unlist(KEYS[1], KEYS[2], room)
  else
    stay = stay + 1
    local known = redis.call('HGET', KEYS[2], room)
    if known then keep_listed(KEYS[1], KEYS[2], sets_of(KEYS[2], cjson.decode(known))) end
  end
end
if #rooms < many then return 0 end
return first + stay
