from django import forms

from chat.consumers import MAX_ROOM_NAME


class RoomForm(forms.Form):
    name = forms.CharField(label="Name of the room", max_length=MAX_ROOM_NAME)

    def clean_name(self):
        name = self.cleaned_data["name"]
        if name in {".", ".."}:
            # Browsers drop these from an address, so the room's socket could not be reached.
            raise forms.ValidationError("A room needs more of a name than dots.")
        return name
