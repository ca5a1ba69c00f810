// What the same costs in Node: `ws` behind Redis pub/sub. No login, no check of the input.
// Run as `node ws.js PORT BROKER`.
import { createClient } from "redis"
import { WebSocketServer } from "ws"

const [port, url] = process.argv.slice(2)
const publisher = await createClient({ url }).connect()
const subscriber = await publisher.duplicate().connect()
const rooms = new Map()

await subscriber.pSubscribe("/ws/chat/*", (message, path) => {
  const text = Buffer.from(message) // encoded once, not once for every socket
  for (const socket of rooms.get(path) ?? []) socket.send(text, { binary: false })
})

const server = new WebSocketServer({ host: "127.0.0.1", port, maxPayload: 65536, perMessageDeflate: false })
server.on("connection", (socket, request) => {
  const path = request.url
  const room = rooms.get(path) ?? new Set()
  rooms.set(path, room.add(socket))
  socket.on("message", (frame) => publisher.publish(path, frame.toString()))
  socket.on("close", () => room.delete(socket))
})
