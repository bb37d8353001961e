-- id, kind, application, config ('' = none), correlation ('' = none), due, status, build time, number of field arguments, of stages, fields, stages
local n = guard()
if n < 0 then return { n } end
local id, kind, application, config, correlation = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
if config == '' then config = nil end
if find(id) then return { n, id } end
if correlation ~= '' then
  local other = C('GET', P .. 'correlation:' .. correlation)
  local k, owner
  if other then k, owner = find(other) end
  if k and string.sub(owner, 1, 1) ~= '.' then return { n, other } end
  C('SET', P .. 'correlation:' .. correlation, id)
end
local k, fields, stages = P .. kind .. ':' .. id, tonumber(ARGV[12]), tonumber(ARGV[13])
in_parts('HSET', k, 14, fields)
C('HSET', k, '_owner', '-0')
if correlation ~= '' then C('HSET', k, '_correlation', correlation) end
in_parts('RPUSH', k .. ':stageIndex', 14 + fields, stages)
C('SADD', P .. 'allJobs:' .. kind, id)
C('SADD', P .. kind .. ':app:' .. application, id)
if kind == 'pipeline' then C('ZADD', P .. 'pipeline:executions:' .. (config or '---'), ARGV[11], id) end
each_index(ALL, kind, application, config, 'ZADD', 0, id)
if not ENDS[ARGV[10]] then each_index(OPEN, kind, application, config, 'ZADD', 0, id) end
make_due(id, ARGV[9])
return { n }
