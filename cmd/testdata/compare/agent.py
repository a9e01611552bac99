# scripted agents: answers by (method, path); records requests
import http.server, sys, json
port, rules = int(sys.argv[1]), json.load(open(sys.argv[2]))
class H(http.server.BaseHTTPRequestHandler):
    def go(self):
        n = int(self.headers.get('Content-Length') or 0); body = self.rfile.read(n).decode()
        with open(sys.argv[3], 'a') as f: f.write(f'{port} {self.command} {self.path} {json.dumps(json.loads(body), sort_keys=True) if body else ""}\n')
        code, text = rules.get(f'{port} {self.command} {self.path}', rules.get(f'{self.command} {self.path}', [503, 'not here']))
        self.send_response(code); self.end_headers(); self.wfile.write(text.encode())
    do_GET = do_POST = do_PATCH = do_DELETE = go
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('127.0.0.1', port), H).serve_forever()
