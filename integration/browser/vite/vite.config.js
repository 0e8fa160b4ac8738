// The page is served under the edge's host and scheme: the live-reload socket must
// go there too, not to the port that Vite itself listens on.
export default {
  clearScreen: false,
  server: { strictPort: true, hmr: { protocol: "wss", clientPort: Number(process.env.EDGE_PORT) } },
};
