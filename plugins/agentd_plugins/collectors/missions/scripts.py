"""What Redis does in one step for a group of agents (Lua scripts; redis.io/docs, Scripting with Lua).

Each entry is counted where XACK returned 1, and nowhere else: of two agents that read the same entry, because one was
taken for dead, only one gets that answer, whatever dies between which two commands. A MULTI of both commands would
count in spite of an XACK that returned 0.

The keys are, in this order: the stream; the open missions (a hash: when each began, and who heard of it last); when
each was heard of last (a sorted set); what this agent has counted (a hash); how many open missions each agent has (a
hash); what all have accounted for (a hash).
"""

BEGIN = """
-- group, where it begins -> nothing. Makes the group where there is none.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM')
if made.err then
  if string.find(made.err, 'BUSYGROUP') then return 0 end
  return made
end
redis.call('DEL', KEYS[6])
local info = redis.call('XINFO', 'STREAM', KEYS[1])
local told = {}
for i = 1, #info, 2 do told[info[i]] = info[i + 1] end
local added = told['entries-added']
if added then
  if ARGV[2] == '0' then added = added - told['length'] end
  redis.call('HSET', KEYS[6], 'base', added)
end
return 1
"""

COUNT = """
-- group, agent, most open missions, milliseconds before which they are forgotten, number of bounds, bounds; and for
-- each entry its id, what to count, its mission, what that does to it (s: starts, e: ends), and its milliseconds
-- -> entries counted, what this agent has counted, its open missions
local stream, open, seen, own, active, totals = unpack(KEYS)
local group, agent, most, due, bounds = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local histogram = table.concat(ARGV, ' ', 6, 5 + bounds)
local counted, changes = 0, {}
local function add(field, number) changes[field] = (changes[field] or 0) + number end
local function close(mission)
  local was = redis.call('HGET', open, mission)
  if not was then return '' end
  local start, owner = string.match(was, '^(%d*) (.*)$')
  redis.call('HDEL', open, mission)
  redis.call('ZREM', seen, mission)
  redis.call('HINCRBY', active, owner, -1)
  return start
end
for i = 6 + bounds, #ARGV, 5 do
  local id, what, mission, does, now = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if redis.call('XACK', stream, group, id) == 1 and what ~= '' then
    counted = counted + 1
    add(what, 1)
    if mission ~= '' then
      local start = close(mission)
      if does ~= 'e' then
        if start == '' and does == 's' then start = now end
        redis.call('HSET', open, mission, start .. ' ' .. agent)
        redis.call('ZADD', seen, now, mission)
        redis.call('HINCRBY', active, agent, 1)
      elseif start ~= '' then
        local seconds = math.max(0, tonumber(now) - tonumber(start)) / 1000
        local bucket = 0
        while bucket < bounds and seconds > tonumber(ARGV[6 + bucket]) do bucket = bucket + 1 end
        add('durations/' .. histogram .. '/' .. bucket, 1)
        redis.call('HINCRBYFLOAT', own, 'sum/' .. histogram, string.format('%.3f', seconds))
      end
    end
  end
end
local late = redis.call('ZRANGEBYSCORE', seen, '-inf', due, 'LIMIT', 0, 1000)
local many = redis.call('ZCARD', seen) - #late - most
if many > 0 then
  for _, mission in ipairs(redis.call('ZRANGE', seen, #late, #late + math.min(many, 1000) - 1)) do
    late[#late + 1] = mission
  end
end
for _, mission in ipairs(late) do close(mission) end
if #late > 0 then add('forgotten', #late) end
for field, number in pairs(changes) do redis.call('HINCRBY', own, field, number) end
if counted > 0 then redis.call('HINCRBY', totals, 'accounted', counted) end
return { counted, redis.call('HGETALL', own), redis.call('HGET', active, agent) or '0' }
"""

LOOK = """
-- group -> how many entries were found missing. Where all was handed out, what was ever added is counted, pending or
-- lost.
local info, told, groups, ours = redis.call('XINFO', 'STREAM', KEYS[1]), {}, redis.call('XINFO', 'GROUPS', KEYS[1]), nil
for i = 1, #info, 2 do told[info[i]] = info[i + 1] end
for _, each in ipairs(groups) do
  local group = {}
  for i = 1, #each, 2 do group[each[i]] = each[i + 1] end
  if group['name'] == ARGV[1] then ours = group end
end
local added = told['entries-added']
if not (ours and added) or ours['last-delivered-id'] ~= told['last-generated-id'] then return 0 end
local base = tonumber(redis.call('HGET', KEYS[6], 'base'))
local accounted = tonumber(redis.call('HGET', KEYS[6], 'accounted') or '0')
local missing = base and added - base - accounted - ours['pending']
if not base or missing < 0 then
  redis.call('HSET', KEYS[6], 'base', added - accounted - ours['pending'])
  return 0
end
if missing > 0 then
  redis.call('HINCRBY', KEYS[6], 'accounted', missing)
  redis.call('HINCRBY', KEYS[4], 'lost', missing)
  redis.call('HINCRBY', KEYS[4], 'gaps', 1)
end
return missing
"""
