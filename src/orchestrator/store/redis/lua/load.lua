-- id
local k, _, kind = find(ARGV[4])
if not k then return { 0 } end
return { 0, kind, record(k), C('LRANGE', k .. ':stageIndex', 0, -1) }
