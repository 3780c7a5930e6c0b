"use strict";
var __importDefault = (this && this.__importDefault) || function (mod) {
    return (mod && mod.__esModule) ? mod : { "default": mod };
};
Object.defineProperty(exports, "__esModule", { value: true });
exports.secrets = exports.getSecrets = void 0;
const path_1 = __importDefault(require("path"));
const fs_1 = require("fs");
const SECRET_DIR = "/run/secrets";
function getSecrets(secretDir) {
    const _secretDir = secretDir || SECRET_DIR;
    const secrets = {};
    if ((0, fs_1.existsSync)(_secretDir)) {
        (0, fs_1.readdirSync)(_secretDir).forEach((file) => {
            const fullPath = path_1.default.join(_secretDir, file);
            if ((0, fs_1.lstatSync)(fullPath).isDirectory()) {
                return;
            }
            secrets[file] = (0, fs_1.readFileSync)(fullPath, "utf8").trim();
        });
    }
    return secrets;
}
exports.getSecrets = getSecrets;
exports.secrets = getSecrets(SECRET_DIR);
//# sourceMappingURL=index.js.map