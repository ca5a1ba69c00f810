// What the same costs with Socket.IO and its Redis adapter. No login, no check of the input.
// Run as `node socket-io.js PORT BROKER`.
import { createServer } from "node:http"
import { createAdapter } from "@socket.io/redis-adapter"
import { createClient } from "redis"
import { Server } from "socket.io"

const [port, url] = process.argv.slice(2)
const publisher = await createClient({ url }).connect()
const subscriber = await publisher.duplicate().connect()
const http = createServer((request, response) => response.end())
const server = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  maxHttpBufferSize: 65536,
  pingInterval: 3_600_000, // the load generator answers no pings
  transports: ["websocket"],
})

server.on("connection", (socket) => {
  const { room } = socket.handshake.query
  socket.join(room)
  socket.on("chat", (message) => server.to(room).emit("chat", message))
})
http.listen(port, "127.0.0.1")
