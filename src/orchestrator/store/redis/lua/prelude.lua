-- Before every script. ARGV[1] is the prefix of all keys, ARGV[2] names the client, ARGV[3] is the last number of that client's that was answered, and the
-- number of its connection. Answers begin with the next number; negative: nothing was done (`guard.rs`). Scripts that only read or only make room begin with 0.
local P, C = ARGV[1], redis.call
local DUE, SESSIONS, OPEN, ALL = P .. 'bellrock:due', P .. 'bellrock:sessions', P .. 'bellrock:open:', P .. 'bellrock:all:'
local ENDS = { SUCCEEDED = 1, FAILED_CONTINUE = 1, TERMINAL = 1, CANCELED = 1, STOPPED = 1, SKIPPED = 1 }

local LATE = -9007199254740992

-- The first write of every script that writes: a server that is out of memory refuses it, and with it the whole.
-- -n: of what was answered some is gone; nothing more is taken over this connection. LATE: the client gave this connection up.
local function guard()
  local key = P .. 'bellrock:sequence:' .. ARGV[2]
  local n = C('HINCRBY', key, 'n', 1)
  if n % 1000 == 1 then C('PEXPIRE', key, 2592000000) end
  local answered, link = string.match(ARGV[3], '^(%d+) (%d+)$')
  local last = C('HGET', key, 'link')
  if last == link and n > tonumber(answered) then return n end
  link, last = tonumber(link), tonumber(last or 0)
  if link < last then return LATE end
  if n <= tonumber(answered) then
    C('HSET', key, 'link', link + 1)
    return -n
  end
  C('HSET', key, 'link', link)
  return n
end

local function now()
  local t = C('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Key of an execution, what _owner says, kind; nil when there is none.
-- _owner: 'E S' owned by session S in epoch E; '-E S' given back by it; '!E S' left by it; '.E S' ended by it.
local function find(id)
  local k, o = P .. 'pipeline:' .. id
  o = C('HGET', k, '_owner')
  if o then return k, o, 'pipeline' end
  local k2 = P .. 'orchestration:' .. id
  o = C('HGET', k2, '_owner')
  if o then return k2, o, 'orchestration' end
  local kind = C('EXISTS', k) == 1 and 'pipeline' or C('EXISTS', k2) == 1 and 'orchestration'
  if not kind then return nil end
  k = P .. kind .. ':' .. id
  return k, (ENDS[C('HGET', k, 'status')] and '.0' or '-0'), kind
end

local function session_of(owner) return string.match(owner, '^%d+ (.*)$') end

local function is_live(session, t)
  local till = C('ZSCORE', SESSIONS, session)
  return till and tonumber(till) > t
end

-- The first end of a lease after which this session may adopt: when its own began to hold without a break, or any once that is a whole lease ago.
local function heard_since(session, t)
  local since, lease = string.match(C('GET', P .. 'bellrock:since:' .. session) or '', '^(%d+) (%d+)$')
  if not since then return t end
  return t >= since + lease and 0 or tonumber(since)
end

-- The instance's name is free again, unless another session took it.
local function leave_instance(session)
  local instance = string.match(session, '^[^/]*/(.*)$')
  if instance and C('HGET', P .. 'bellrock:instances', instance) == session then C('HDEL', P .. 'bellrock:instances', instance) end
end

local function scope_of(application, config)
  return config and 'config:' .. config or 'app:' .. (application or '')
end

-- Changes of indexes wait for the end of the script, so that those of many executions are one command a key. No script reads what it put here before `carry_out`.
local waiting, by_command = {}, {}
local function later(command, key, a, b)
  local by_key = by_command[command]
  if not by_key then
    by_key = {}
    by_command[command] = by_key
  end
  local list = by_key[key]
  if not list then
    list = { n = 0, command = command, key = key }
    by_key[key] = list
    waiting[#waiting + 1] = list
  end
  local n = list.n + 1
  list[n] = a
  if b then
    n = n + 1
    list[n] = b
  end
  list.n = n
end

-- What this script made due: news, where it became the first. Behind one that is due already, whoever was told of that one claims until nothing is left.
local made_due
local function make_due(id, at)
  later('ZADD', DUE, at, id)
  made_due = made_due or {}
  made_due[id] = true
end

-- Carries out what waits: before an index is read again, and at the end.
local function carry_out()
  for _, list in ipairs(waiting) do
    for from = 1, list.n, 4000 do C(list.command, list.key, unpack(list, from, math.min(from + 3999, list.n))) end
  end
  waiting, by_command = {}, {}
end

-- At the end of every script that changes an index or makes due.
local function settle()
  carry_out()
  if made_due and made_due[C('ZRANGE', DUE, 0, 0)[1]] then C('PUBLISH', P .. 'bellrock:news', '') end
end

local function each_index(prefix, kind, application, config, command, a, b)
  later(command, prefix .. kind, a, b)
  later(command, prefix .. kind .. ':app:' .. (application or ''), a, b)
  if config then later(command, prefix .. kind .. ':config:' .. config, a, b) end
end

local scopes = {}
local function mark_ended(id, scope, at)
  later('ZADD', P .. 'bellrock:ended:' .. scope, at, id)
  if not scopes[scope] then
    scopes[scope] = true
    later('ZADD', P .. 'bellrock:scopes', 0, scope)
  end
end

local function in_parts(command, k, from, count)
  local last = from + count - 1
  while from <= last do
    C(command, k, unpack(ARGV, from, math.min(from + 3999, last)))
    from = from + 4000
  end
end

-- Does each of ARGV[4] jobs, whose arguments follow their number, and answers each: one that fails does not spoil the others.
local function each_of(n, one)
  local answers, i = { n }, 5
  for job = 1, tonumber(ARGV[4]) do
    local ok, answer = pcall(one, i + 1, ARGV[i])
    answers[job + 1] = ok and answer or { type(answer) == 'table' and answer.err or tostring(answer) }
    i = i + 1 + ARGV[i]
  end
  settle()
  return answers
end

-- 1 = delivered, 0 = nobody takes it, -1 = full. `moves` is '!' for messages that reach what ended, else ' '.
local function deliver(id, moves, json, t, limit)
  local k, owner, kind = find(id)
  if not k then return 0 end
  local state = string.sub(owner, 1, 1)
  if state == '.' and moves ~= '!' then return 0 end
  local box = P .. 'bellrock:inbox:' .. id
  if limit and C('ZCARD', box) >= limit then return -1 end
  local n = C('HINCRBY', k, '_messages', 1)
  C('ZADD', box, n, n .. moves .. json)
  local session = session_of(owner)
  if session then
    C('SADD', P .. 'bellrock:mail:' .. session, id)
    C('PUBLISH', P .. 'bellrock:news', session)
    return 1
  end
  if state == '.' then
    local v = C('HMGET', k, 'application', 'pipelineConfigId')
    C('HSET', k, '_owner', '-' .. string.sub(owner, 2))
    C('ZREM', P .. 'bellrock:ended:' .. scope_of(v[1], v[2]), id)
  end
  local due = C('ZSCORE', DUE, id)
  if not due or tonumber(due) > t then make_due(id, t) end
  return 1
end

-- All fields of an execution as one text (MessagePack): a server spends less on it than on as many parts of an answer, and a client far less.
local function record(k)
  return cmsgpack.pack(C('HGETALL', k))
end

-- Hands an execution to a session.
local function take(id, k, owner, kind, session)
  local old = session_of(owner)
  if old and old ~= session then
    later('ZREM', P .. 'bellrock:owned:' .. old, id)
    later('SREM', P .. 'bellrock:mail:' .. old, id)
  end
  local epoch = (tonumber(string.match(owner, '%d+')) or 0) + 1
  C('HSET', k, '_owner', epoch .. ' ' .. session, '_write', 0)
  later('ZREM', DUE, id)
  later('ZADD', P .. 'bellrock:owned:' .. session, 0, id)
  local inbox = C('ZRANGE', P .. 'bellrock:inbox:' .. id, 0, 99)
  if #inbox > 0 then later('SADD', P .. 'bellrock:mail:' .. session, id) end
  local adopted = (old or string.sub(owner, 1, 1) == '!') and 1 or 0
  return { id, kind, epoch, adopted, record(k), C('LRANGE', k .. ':stageIndex', 0, -1), inbox }
end

-- As it stands in the list of those that wait, in the form that Orca gives it.
local function ticket(id, kind, application)
  return '{"kind":"startExecution","executionType":"' .. string.upper(kind) .. '","executionId":' .. cjson.encode(id) .. ',"application":' .. cjson.encode(application or '') .. '}'
end

-- 'go' or 'wait': a slot, or the last place among those that wait.
local function enter_gate(id, k, kind, config, application, limit)
  local queue, holders = P .. 'orca.pipeline.queue.' .. config, P .. 'bellrock:gate:' .. config
  local how = C('EXISTS', queue) == 0 and C('SCARD', holders) < limit and 'go' or 'wait'
  if how == 'go' then C('SADD', holders, id) else C('LPUSH', queue, ticket(id, kind, application)) end
  C('HSET', k, '_gate', how .. ' ' .. config)
  return how
end

local function leave_gate(id, k, kind, gate, application)
  if not gate then return end
  local how, config = string.match(gate, '^(%a+) (.*)$')
  if how == 'go' then
    C('SREM', P .. 'bellrock:gate:' .. config, id)
  else
    C('LREM', P .. 'orca.pipeline.queue.' .. config, 1, ticket(id, kind, application))
  end
  C('HDEL', k, '_gate')
end

local function erase(id, k, kind)
  local v = C('HMGET', k, 'application', 'pipelineConfigId', '_correlation')
  C('UNLINK', k, k .. ':stageIndex', P .. 'bellrock:inbox:' .. id)
  C('SREM', P .. 'allJobs:' .. kind, id)
  C('SREM', P .. kind .. ':app:' .. (v[1] or ''), id)
  if kind == 'pipeline' then C('ZREM', P .. 'pipeline:executions:' .. (v[2] or '---'), id) end
  each_index(ALL, kind, v[1], v[2], 'ZREM', id)
  each_index(OPEN, kind, v[1], v[2], 'ZREM', id)
  C('ZREM', P .. 'bellrock:ended:' .. scope_of(v[1], v[2]), id)
  if v[3] and C('GET', P .. 'correlation:' .. v[3]) == id then C('UNLINK', P .. 'correlation:' .. v[3]) end
end

local LISTED = { 'application', 'name', 'pipelineConfigId', 'status', 'buildTime', 'startTime', 'endTime' }
local function listed(id, k, kind)
  local v = C('HMGET', k, unpack(LISTED))
  local row = { id, kind }
  for i = 1, #LISTED do row[i + 2] = v[i] end
  return row
end
