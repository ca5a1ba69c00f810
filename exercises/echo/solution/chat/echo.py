from channels.generic.websocket import AsyncWebsocketConsumer


class EchoConsumer(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        """Called for every frame. Sends it back as it came."""
        await self.send(text_data=text_data, bytes_data=bytes_data)
