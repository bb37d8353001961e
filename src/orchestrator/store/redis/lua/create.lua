-- number of creations; each: arguments that follow, id, kind, application, config ('' = none), correlation ('' = none), due, status, build time, number of
-- field arguments, of stages, limit of the gate (0 = none), fields, stages. Answers 1 = new, an id = that one was there, { text } = what went wrong with this one alone.
local n = guard()
if n < 0 then return { n } end

local function one(i)
  local id, kind, application, config, correlation = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if config == '' then config = nil end
  if C('EXISTS', P .. 'pipeline:' .. id, P .. 'orchestration:' .. id) > 0 then return id end
  if correlation ~= '' then
    local other = C('GET', P .. 'correlation:' .. correlation)
    local k, owner
    if other then k, owner = find(other) end
    if k and string.sub(owner, 1, 1) ~= '.' then return other end
    C('SET', P .. 'correlation:' .. correlation, id)
  end
  local k, fields, stages = P .. kind .. ':' .. id, tonumber(ARGV[i + 8]), tonumber(ARGV[i + 9])
  local limit = tonumber(ARGV[i + 10])
  in_parts('HSET', k, i + 11, fields)
  in_parts('RPUSH', k .. ':stageIndex', i + 11 + fields, stages)
  if config and limit > 0 then enter_gate(id, k, kind, config, application, limit) end
  later('SADD', P .. 'allJobs:' .. kind, id)
  later('SADD', P .. kind .. ':app:' .. application, id)
  if kind == 'pipeline' then later('ZADD', P .. 'pipeline:executions:' .. (config or '---'), ARGV[i + 7], id) end
  each_index(ALL, kind, application, config, 'ZADD', 0, id)
  if not ENDS[ARGV[i + 6]] then each_index(OPEN, kind, application, config, 'ZADD', 0, id) end
  make_due(id, ARGV[i + 5])
  return 1
end

return each_of(n, one)
