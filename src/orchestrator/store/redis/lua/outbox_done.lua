-- name
C('ZREM', P .. 'bellrock:outbox', ARGV[4])
C('HDEL', P .. 'bellrock:outbox:notices', ARGV[4])
C('HDEL', P .. 'bellrock:outbox:tries', ARGV[4])
return { 0 }
