/* One WebSocket connection of a load generator: bytes by hand, so that it costs next to nothing.
 *
 * It offers no extension, sends one frame per message, and takes no fragments: no server
 * that is measured sends any. Whatever is not as it must be ends the process (die). */

#ifndef WEBSOCKET_CLIENT_H
#define WEBSOCKET_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

typedef struct {
    int fd;
    char *buffer;
    size_t start, end, capacity;
} Socket;

typedef struct {
    char *data; /* in the socket's buffer: good until the next receive */
    size_t size;
} Message;

/* Print a reason and end the process with an error. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Connect to this machine and upgrade; waits for the server's answer. */
void websocket_connect(Socket *socket, int port, const char *path);

/* Take what has arrived; true when there may be more. Never waits. */
bool websocket_receive(Socket *socket);

/* Give the next whole message that was received, if there is one; pings are answered. */
bool websocket_next(Socket *socket, Message *message);

/* Wait for the next message. */
Message websocket_wait(Socket *socket);

/* Send a message as one frame. */
void websocket_send(Socket *socket, int opcode, const char *data, size_t size);

#endif
