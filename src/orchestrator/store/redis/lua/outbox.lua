-- max, lease: name, notice and tries of each
local n = guard()
if n < 0 then return { n } end
local t, out = now(), {}
for _, name in ipairs(C('ZRANGEBYSCORE', P .. 'bellrock:outbox', '-inf', t, 'LIMIT', 0, ARGV[4])) do
  local notice = C('HGET', P .. 'bellrock:outbox:notices', name)
  if notice then
    C('ZADD', P .. 'bellrock:outbox', t + ARGV[5], name)
    out[#out + 1] = { name, notice, C('HINCRBY', P .. 'bellrock:outbox:tries', name, 1) - 1 }
  else
    C('ZREM', P .. 'bellrock:outbox', name)
  end
end
return { n, out }
