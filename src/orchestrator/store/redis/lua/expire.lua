-- older than, keep, step, scope to go on from: how many went, the scope to go on from ('' = all were looked at)
local older, keep, step, from, went = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], 0
local scopes = C('ZRANGEBYLEX', P .. 'bellrock:scopes', from == '' and '-' or '(' .. from, '+', 'LIMIT', 0, 100)
for _, scope in ipairs(scopes) do
  local ended = P .. 'bellrock:ended:' .. scope
  local spare = math.min(C('ZCARD', ended) - keep, step - went)
  if spare > 0 then
    for _, id in ipairs(C('ZRANGEBYSCORE', ended, '-inf', '(' .. older, 'LIMIT', 0, spare)) do
      local k, _, kind = find(id)
      if k then erase(id, k, kind) end
      C('ZREM', ended, id)
      went = went + 1
    end
    if C('EXISTS', ended) == 0 then C('ZREM', P .. 'bellrock:scopes', scope) end
  end
  if went == step then
    settle()
    return { 0, went, scope }
  end
end
settle()
return { 0, went, #scopes == 100 and scopes[100] or '' }
