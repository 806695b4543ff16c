"""
The life of an edit: queue, submit, poll and collect; joined, left and recovered.

asyncio only: no sockets, no wire format, no metrics library. gateway.downstream uses one
object, gateway.edits.service.EditService:

    async with service.attend(request) as waiter:  # joins or begins; the client is connected
        result = await waiter.answer()             # until the deadline; raises GatewayError
        ...                                        # send it
        await waiter.delivered()                   # the last byte was handed to the socket

Leaving the block without delivered() counts as the client's leaving. waiter.status is always
there for headers. service.collect(tenant, edit_id) gives such a block for a known edit, or
raises NotFound; service.withdraw(tenant, edit_id) cancels what can be cancelled.
"""
