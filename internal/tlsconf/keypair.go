package tlsconf

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"os"
)

// ErrKeyPassword: the private key is encrypted, and the password is missing
// or wrong.
var ErrKeyPassword = errors.New("private key: missing or wrong password")

// KeyPair names a certificate and its private key.
type KeyPair struct {
	CertFile string
	// KeyFile is empty when the key is in CertFile.
	KeyFile string
	// Password opens an encrypted key; empty when it is not encrypted.
	Password string
}

// Load reads both files. Errors name the file.
func (k KeyPair) Load() (tls.Certificate, error) {
	cert, err := os.ReadFile(k.CertFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	key, keyFile := cert, k.CertFile
	if k.KeyFile != "" {
		keyFile = k.KeyFile
		if key, err = os.ReadFile(k.KeyFile); err != nil {
			return tls.Certificate{}, fmt.Errorf("private key: %w", err)
		}
	}
	return k.parse(cert, key, keyFile)
}

func (k KeyPair) parse(cert, key []byte, keyFile string) (tls.Certificate, error) {
	plain, err := decryptKeys(key, k.Password)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s: %w", keyFile, err)
	}
	pair, err := tls.X509KeyPair(cert, plain)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s with key %s: %w", k.CertFile, keyFile, err)
	}
	return pair, nil
}

// decryptKeys returns the PEM text with encrypted private keys opened.
func decryptKeys(text []byte, password string) ([]byte, error) {
	var out bytes.Buffer
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out.Bytes(), nil
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY":
			der, err := decryptPKCS8(block.Bytes, password)
			if err != nil {
				return nil, err
			}
			block = &pem.Block{Type: "PRIVATE KEY", Bytes: der}
		//lint:ignore SA1019 weak, and what old keys on disk still use
		case x509.IsEncryptedPEMBlock(block):
			//lint:ignore SA1019 weak, and what old keys on disk still use
			der, err := x509.DecryptPEMBlock(block, []byte(password))
			if err != nil {
				return nil, ErrKeyPassword
			}
			block = &pem.Block{Type: block.Type, Bytes: der}
		}
		if err := pem.Encode(&out, block); err != nil {
			return nil, err
		}
	}
}

// The parts of PKCS #5 v2 (RFC 8018) that openssl writes: PBES2 with PBKDF2
// and AES-CBC.
var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}

	keyBytesByCipher = map[string]int{
		"2.16.840.1.101.3.4.1.2":  16, // AES-128-CBC
		"2.16.840.1.101.3.4.1.22": 24, // AES-192-CBC
		"2.16.840.1.101.3.4.1.42": 32, // AES-256-CBC
	}
	hashByPRF = map[string]func() hash.Hash{
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.11": sha512.New,
	}
)

type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type pbes2Params struct {
	KDF, Cipher pkix.AlgorithmIdentifier
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// maxIterations bounds the work a damaged key file can ask for.
const maxIterations = 10_000_000

func decryptPKCS8(der []byte, password string) ([]byte, error) {
	var (
		enc    encryptedKey
		params pbes2Params
		kdf    pbkdf2Params
		iv     []byte
	)
	if err := unmarshalAll(der, &enc); err != nil {
		return nil, err
	}
	if !enc.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("private key: encryption %v is not supported, use PBES2 (openssl pkcs8 -topk8 -v2 aes256)", enc.Algorithm.Algorithm)
	}
	if err := unmarshalAll(enc.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	keyBytes, ok := keyBytesByCipher[params.Cipher.Algorithm.String()]
	if !ok || !params.KDF.Algorithm.Equal(oidPBKDF2) {
		return nil, errors.New("private key: encryption is not PBKDF2 with AES-CBC")
	}
	if err := unmarshalAll(params.KDF.Parameters.FullBytes, &kdf); err != nil {
		return nil, err
	}
	if err := unmarshalAll(params.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, err
	}
	prf := sha1.New // the default of the standard
	if kdf.PRF.Algorithm != nil {
		if prf, ok = hashByPRF[kdf.PRF.Algorithm.String()]; !ok {
			return nil, fmt.Errorf("private key: key derivation %v is not supported", kdf.PRF.Algorithm)
		}
	}
	if len(iv) != aes.BlockSize || len(enc.Data) == 0 || len(enc.Data)%aes.BlockSize != 0 || kdf.Iterations < 1 || kdf.Iterations > maxIterations {
		return nil, errors.New("private key: damaged")
	}
	key, err := pbkdf2.Key(prf, password, kdf.Salt, kdf.Iterations, keyBytes)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	plain := make([]byte, len(enc.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, enc.Data)
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > aes.BlockSize {
		return nil, ErrKeyPassword
	}
	plain = plain[:len(plain)-pad]
	if _, err := x509.ParsePKCS8PrivateKey(plain); err != nil {
		return nil, ErrKeyPassword // garbage: the padding looked right by chance
	}
	return plain, nil
}

func unmarshalAll(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	if len(rest) > 0 {
		return errors.New("private key: data behind the end")
	}
	return nil
}
