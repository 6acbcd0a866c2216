"""For tests, screenshots and trying the portal out: a Core that is not one, with the API's shapes and realistic rows."""
