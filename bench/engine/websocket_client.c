#define _GNU_SOURCE
#include "websocket_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 64 * 1024, LARGEST_FRAME = 64 * 1024, WAIT_MS = 30000 };

static const unsigned char MASK[4] = {0x37, 0xfa, 0x21, 0x3d};

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void send_all(Socket *socket, const void *data, size_t size) {
    ssize_t sent = send(socket->fd, data, size, MSG_NOSIGNAL);
    if (sent != (ssize_t)size)
        die("cannot send %zu bytes: %s", size, sent < 0 ? strerror(errno) : "short");
}

static void wait_readable(Socket *socket) {
    struct pollfd wanted = {.fd = socket->fd, .events = POLLIN};
    if (poll(&wanted, 1, WAIT_MS) != 1)
        die("nothing came for %d s", WAIT_MS / 1000);
    websocket_receive(socket);
}

void websocket_connect(Socket *self, int port, const char *path) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    self->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (self->fd < 0 || connect(self->fd, (struct sockaddr *)&address, sizeof address))
        die("cannot connect: %s", strerror(errno));
    setsockopt(self->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    char request[1024];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: c3RyZXR0byBiZW5jaG1hcg==\r\n\r\n",
                        path, port);
    send_all(self, request, (size_t)size);
    char *stop;
    do
        wait_readable(self);
    while (!(stop = memmem(self->buffer + self->start, self->end - self->start, "\r\n\r\n", 4)));
    if (strncmp(self->buffer, "HTTP/1.1 101", 12))
        die("no upgrade: %.*s", (int)(stop - self->buffer), self->buffer);
    self->start = (size_t)(stop + 4 - self->buffer);
}

static void make_room(Socket *self) {
    if (self->start == self->end)
        self->start = self->end = 0;
    if (self->capacity - self->end >= ROOM / 2)
        return;
    memmove(self->buffer, self->buffer + self->start, self->end - self->start);
    self->end -= self->start;
    self->start = 0;
    if (self->capacity - self->end < ROOM / 2) {
        self->capacity += ROOM;
        self->buffer = realloc(self->buffer, self->capacity);
        if (!self->buffer)
            die("no memory");
    }
}

bool websocket_receive(Socket *self) {
    make_room(self);
    size_t room = self->capacity - self->end;
    ssize_t got = recv(self->fd, self->buffer + self->end, room, MSG_DONTWAIT);
    if (got == 0)
        die("the server closed a connection");
    if (got < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return false;
        die("cannot receive: %s", strerror(errno));
    }
    self->end += (size_t)got;
    return (size_t)got == room;
}

/* Return the size of the header, 0 while it is not whole. */
static size_t read_header(const unsigned char *at, size_t available, uint64_t *payload) {
    if (available < 2)
        return 0;
    size_t header = 2, more = at[1] == 126 ? 2 : at[1] == 127 ? 8 : 0;
    if (at[1] & 0x80)
        die("a masked frame from a server");
    if (available < header + more)
        return 0;
    *payload = more ? 0 : at[1];
    for (size_t i = 0; i < more; i++)
        *payload = *payload << 8 | at[header + i];
    return header + more;
}

bool websocket_next(Socket *self, Message *message) {
    for (;;) {
        const unsigned char *at = (unsigned char *)self->buffer + self->start;
        size_t available = self->end - self->start;
        uint64_t payload;
        size_t header = read_header(at, available, &payload);
        if (!header || available < header + payload)
            return false;
        if ((at[0] & 0xf0) != 0x80)
            die("a fragment, or an extension that nobody asked for");
        self->start += header + payload;
        message->data = (char *)at + header;
        message->size = payload;
        switch (at[0] & 0x0f) {
        case TEXT:
        case BINARY:
            return true;
        case PING:
            websocket_send(self, PONG, message->data, message->size);
            break;
        case CLOSE:
            die("the server closed a WebSocket: %.*s", payload > 2 ? (int)payload - 2 : 0,
                message->data + 2);
        }
    }
}

Message websocket_wait(Socket *self) {
    Message message;
    while (!websocket_next(self, &message))
        wait_readable(self);
    return message;
}

void websocket_send(Socket *self, int opcode, const char *data, size_t size) {
    static unsigned char frame[LARGEST_FRAME];
    if (size > 0xffff || size + 8 > sizeof frame)
        die("a message of %zu bytes is too large", size);
    unsigned char *at = frame;
    *at++ = (unsigned char)(0x80 | opcode);
    if (size < 126) {
        *at++ = (unsigned char)(0x80 | size);
    } else {
        *at++ = 0x80 | 126;
        *at++ = (unsigned char)(size >> 8);
        *at++ = (unsigned char)size;
    }
    memcpy(at, MASK, sizeof MASK);
    at += sizeof MASK;
    for (size_t i = 0; i < size; i++)
        at[i] = (unsigned char)data[i] ^ MASK[i & 3];
    send_all(self, frame, (size_t)(at - frame) + size);
}
