import { join } from 'node:path';

/** nginx as a plain proxy: connections kept on both sides, streams not held back, no log. */
export function nginxConfig(
  scratch: string,
  port: number,
  servers: readonly string[],
  workers: number,
): string {
  const hosts = servers.map((url) => `server ${new URL(url).host};`).join(' ');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${join(scratch, `nginx_${kind}`)};`)
    .join(' ');
  return `worker_processes ${workers};
daemon off;
pid ${join(scratch, 'nginx.pid')};
worker_rlimit_nofile 16384;
events { worker_connections 8192; use epoll; multi_accept on; }
http {
  access_log off;
  ${temporary}
  keepalive_requests 100000000; keepalive_timeout 300s;
  client_max_body_size 16m; client_body_buffer_size 256k;
  tcp_nodelay on;
  upstream servers { ${hosts} keepalive 256; keepalive_requests 100000000; keepalive_timeout 300s; }
  server {
    listen 127.0.0.1:${port} reuseport backlog=1024;
    location / {
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 300s;
    }
  }
}
`;
}
