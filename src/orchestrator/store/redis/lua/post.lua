-- id, '!' or ' ', JSON, most messages of an inbox
local n = guard()
if n < 0 then return { n } end
local taken = deliver(ARGV[4], ARGV[5], ARGV[6], now(), tonumber(ARGV[7]))
settle()
return { n, taken }
