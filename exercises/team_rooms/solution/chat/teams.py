import hashlib

from chat.consumers import ChatConsumer


class TeamConsumer(ChatConsumer):
    async def connect(self):
        """Called when a browser opens the socket of a team's room."""
        team = self.scope["url_route"]["kwargs"]["team"]
        # Not "chat_": a public room can have any name, even this team's.
        self.room_group = "team_" + hashlib.sha256(team.encode()).hexdigest()
        if not await self.scope["user"].groups.filter(name=team).aexists():
            await self.close()
            return
        await self.channel_layer.group_add(self.room_group, self.channel_name)
        await self.accept()
