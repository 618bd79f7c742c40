#!lua
-- Takes what a node spent of a user's budgets from the buckets of all nodes. What was spent
-- was spent: a bucket may owe, up to a minute's worth.
--
-- KEYS  the user's buckets: a hash, budget -> "<tokens> <ms of this clock>"
-- ARGV  for each budget: its name, tokens a second, the burst, what was spent
--
-- Answers for each budget in how many ms nothing is owed any more. A user who spends
-- nothing is forgotten when all buckets are full again.

local LONGEST_DEBT_S = 60
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local waits, full_in = {}, 0
for i = 1, #ARGV, 4 do
  local rate, burst = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local tokens, at = burst, now
  local kept = redis.call('HGET', KEYS[1], ARGV[i])
  if kept then
    local had, since = string.match(kept, '^(%S+) (%S+)$')
    at = math.max(now, tonumber(since))
    tokens = math.min(burst, tonumber(had) + (at - tonumber(since)) / 1000 * rate)
  end
  tokens = math.max(tokens - tonumber(ARGV[i + 3]), -LONGEST_DEBT_S * rate)
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.3f %.0f', tokens, at))
  waits[#waits + 1] = math.ceil(math.max(0, -tokens) / rate * 1000)
  full_in = math.max(full_in, math.ceil((burst - tokens) / rate * 1000))
end
if redis.call('PTTL', KEYS[1]) < full_in then redis.call('PEXPIRE', KEYS[1], full_in) end
return waits
